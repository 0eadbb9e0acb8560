"""The wire contract: `policy.proto` and the code generated from it (`make proto`)."""
