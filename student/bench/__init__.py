"""Many runs on one purchase: grids of methods, budgets and seeds, and the page that shows them."""
