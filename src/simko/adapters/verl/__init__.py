"""The methods of the table, and the verifiers, in verl."""
