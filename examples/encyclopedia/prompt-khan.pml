<prompt schema="encyclopedia">
  <oxygen/>
  <black-death/>
  <doctor-who/>
  <genghis-khan/>
  <reader who="a historian"/>
  <user>Who was Genghis Khan?</user>
</prompt>
