"""What the commands of `modelkeep config` share."""
