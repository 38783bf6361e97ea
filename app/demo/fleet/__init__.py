"""A fleet of gates: real validators with real journals against the running cities, with all that goes wrong in the field.

``make fleet`` runs it. The gates tap, lose their network, tell the wrong time, start again, are killed and come back with an
old disk, while the cities' own web servers and workers are killed too; at the end every tap that a journal says was let
through must be in the ledger once, at the price that ``oracle`` says, and paid by a purse of the city that issued the card.
(``play`` is imported where it is used: a crew, which starts anew after every power cut, needs none of it.)
"""

from app.demo.fleet.plan import Plan, Size, planned

__all__ = ["Plan", "Size", "planned"]
