"""What the tests stand on: a server as a child process, raw sockets, puppets.

Read in this order: waiting, server, wire, puppet, lease, bystander.
"""
