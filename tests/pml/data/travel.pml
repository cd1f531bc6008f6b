<schema name="travel">
<user><param name="days" len="3"/>
<module name="plan"><param name="style" len="4" default="calm"/>
  <union required="true"><module name="home"><param name="city" len="4"/></module>
  <module name="abroad"><union><module name="goa"/><module name="mali"/></union></module></union>
</module></user>
<module name="notes"/><module name="my notes"/>
<module name="dialog"><assistant>Hi</assistant><module name="deep"/></module>
</schema>
