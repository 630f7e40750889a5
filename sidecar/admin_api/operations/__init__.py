"""Operations of the API: which call of `management` serves a route, and how is its result written as JSON?

One module for each subject; each has `ROUTES`. `all_routes` joins them. Start with `account_routes`.

It imports `management` and the modules of `admin_api`; only `admin_api` imports it.
"""
