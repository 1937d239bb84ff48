"""What leaves align and what comes in, tried with the programs themselves: python -m interop PEERS_PYTHON."""
