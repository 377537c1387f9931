"""Entra ID: tokens for every tenant, claims read as advice, errors classed by who must act.

The only home of msal. Secrets and tokens enter here and
leave only as a request's header.
"""
