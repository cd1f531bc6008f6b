<prompt schema="encyclopedia">
  <oxygen/> <!-- comments are nothing, and so is a line break between two imports -->
  <steam-engine/>
  <amazon/>
  <apollo/>
  <normans/>
  <reader who="a student" style="one sentence"/>
  <user>What is a steam engine?</user>
</prompt>
