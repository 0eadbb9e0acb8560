"""Who may call, over what: tokens and roles, TLS files, and which transport is fit for the network."""
