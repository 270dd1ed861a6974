"""Tests of pure modules: no database."""
