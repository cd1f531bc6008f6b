<prompt schema="encyclopedia">
  <oxygen/> <!-- comments are nothing, and so is the line break between two imports -->
  <tesla/>
  <steam-engine/>
  <amazon/>
  <apollo/>
  <normans/>
  <reader who="a student" style="one sentence"/>
  <user>Who financed Tesla's company in 1886?</user>
</prompt>
