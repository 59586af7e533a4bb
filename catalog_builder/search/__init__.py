"""A release, searched by the client that people already use, without a server.

``client`` gives a pystac_client.Client whose requests are answered here: ``request`` reads a request, ``engine``
answers it from the indexes.
"""
