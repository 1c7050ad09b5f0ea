"""The demo: a real year of flights from New York, served and watched as in production."""
