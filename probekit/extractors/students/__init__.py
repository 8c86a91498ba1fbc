"""Students: small networks that are trained on a task, and then are extractors themselves.

``zoo`` builds a student by its text: ``cf-net:width=32``, or ``module:Class`` of the user, which
``torch_module`` wraps. All derive from the class in ``base``. After training, ``extractor`` saves
the student in a folder; ``card`` finds that folder and reads its card, and ``extractor`` makes the
student an extractor, ``-e runs/ID``.
"""
