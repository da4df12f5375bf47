"""Terms that pull on the synthetic images beside the method, one file each."""
