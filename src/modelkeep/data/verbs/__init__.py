"""What can be done with tracked data, one verb a file; module and function have the verb's name."""
