<prompt schema="travel">
  <trip duration="seven days" month="June">
    <coast country="Portugal"><children/></coast>
  </trip>
  <frugal/>
  <user>Where should we start, and why there? Answer in two sentences.</user>
</prompt>
