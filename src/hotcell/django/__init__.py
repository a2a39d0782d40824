"""Safe code execution for a Django project, with an audit trail: add ``"hotcell.django"`` to INSTALLED_APPS.

    from hotcell.django import services

    execution = services.execute("print(6 * 7)", user=request.user)
    execution.stdout     # "42\\n", and a row in the history

This package is the only one that knows Django, and nothing else of Hotcell imports it.
"""
