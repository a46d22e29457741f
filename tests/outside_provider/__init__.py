"""A provider installed beside Mayfly: its package, its service, and the tests that both keep the contract."""
