<prompt schema="encyclopedia">
  <tesla/>
  <amazon/>
  <apollo/>
  <normans/>
  <black-death/>
  <reader who="a child" style="simple"/>
  <user>In what country is most of the Amazon rainforest?</user>
</prompt>
