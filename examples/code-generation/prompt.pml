<prompt schema="shop">
  <money.py/>
  <catalogue.py/>
  <basket.py/>
  <user>Write a function that gives a basket's total after a discount in percent.</user>
</prompt>
