"""What nothing refers to is found, condemned and deleted; what is hardly used is moved; what is there is
checked. The door is keeper.py."""
