"""Solvers of regularized linear models: logistic regression with a certified gap, ridge."""
