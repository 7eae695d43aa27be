"""The search behind ``recbole-mm tune``: its space, who chooses the points, who runs them, what it leaves."""
