"""The demonstration: two cities and the province, their people and how they are started."""
