"""``bootserve doctor``: what a server needs of its machine and its state, looked at one by one."""
