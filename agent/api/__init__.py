"""The till's door: HTTP in, rules asked, captures handed to the store, answers out."""
