<prompt schema="encyclopedia">
  <tesla/>
  <amazon/>
  <apollo/>
  <normans/>
  <black-death/>
  <reader who="a traveller" style="one sentence"/>
  <user>What is the Amazon rainforest?</user>
</prompt>
