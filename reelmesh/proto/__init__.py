"""The wire: messages and services, generated from the `.proto` files here (`make proto`)."""
