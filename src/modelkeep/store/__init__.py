"""What is kept: the journal, the engines that read it, and entries."""
