<prompt schema="encyclopedia">
  <oxygen/>
  <steam-engine/>
  <black-death/>
  <doctor-who/>
  <genghis-khan/>
  <reader who="a historian"/>
  <user>Who was Genghis Khan?</user>
</prompt>
