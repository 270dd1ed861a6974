"""Integrations: one package for each framework."""
