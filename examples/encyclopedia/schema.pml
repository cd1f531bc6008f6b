<schema name="encyclopedia">
  <system>
    You are a librarian. You answer questions from the articles below.

    <module name="oxygen" src="documents/oxygen.txt"/>
    <module name="tesla" src="documents/tesla.txt"/>
    <module name="steam-engine" src="documents/steam-engine.txt"/>
    <module name="amazon" src="documents/amazon.txt"/>
    <module name="apollo" src="documents/apollo.txt"/>
    <module name="normans" src="documents/normans.txt"/>
    <module name="black-death" src="documents/black-death.txt"/>
    <module name="doctor-who" src="documents/doctor-who.txt"/>
    <module name="genghis-khan" src="documents/genghis-khan.txt"/>

    <module name="reader">
      Your reader is <param name="who" len="8" default="curious"/> and likes answers that are
      <param name="style" len="8" default="short"/>. Answer from the articles only.
    </module>
  </system>
</schema>
