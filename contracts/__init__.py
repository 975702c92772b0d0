"""Wire types, errors and limits that the services share; standard library and pydantic only."""
