"""Account operations: read and change accounts, consents, credits and journals.

The commands, the admin API, the account page and the `serve:` tools share these operations: no printing, no HTTP, no
command line. Start reading at `failures` (expected failures and their codes), `targets` (the account of an operation)
and `operator_store` (the connection), then at one subject: `account_records`, `consent_records`, `client_search`,
`credit_changes`, `usage_reading`, `journal_reading`, `journal_audit`; `record_pages` lists those of all accounts.

The *author* (`by`) of a change is `command`, `holder`, or `admin:NAME`; the change's journal entry names it. The
*version* of a stored record is for compare-and-set.

May import `policy`, `store` and the packages below them. Imported by `proxy`, `workbench`, `runtime`, `account_page`,
`admin_api` and `cli`.
"""
