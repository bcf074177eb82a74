"""The resolver that sandboxes have at their gateway: it answers the names of their group, and forwards what their policies allow.

It is where rules over names become rules over addresses: what an allowed name has is told to the packet filter (*learnt*) before it is told
to the sandbox, for as long as the answer says. The wire format is dnspython's.
"""
