"""Rollouts under way: their steps taken, stored and carried out."""
