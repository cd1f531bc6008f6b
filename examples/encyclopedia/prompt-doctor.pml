<prompt schema="encyclopedia">
  <oxygen/>
  <steam-engine/>
  <black-death/>
  <doctor-who/>
  <genghis-khan/>
  <reader who="a television critic"/>
  <user>What is the name of the first Doctor Who serial?</user>
</prompt>
