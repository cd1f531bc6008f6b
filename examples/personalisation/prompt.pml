<prompt schema="tutor">
  <primary-school/>
  <likes-doing/>
  <curious/>
  <language/>
  <user>Why does ice float on water?</user>
</prompt>
