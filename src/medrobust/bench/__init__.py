"""`medrobust bench`: how fast this machine attacks, trains and reads, against the plain way."""
