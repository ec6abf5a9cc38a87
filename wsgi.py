"""The service for any WSGI server, threaded or not: Apache's mod_wsgi and others load `application` from here.

Under gunicorn, `chatapi serve` is the better way: it adds a clean shutdown.
"""

from chatapi.app import create_app, start_keeping

application = create_app()
keeper = start_keeping(application)
