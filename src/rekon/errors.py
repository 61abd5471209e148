"""The one exception that means "the user can mend this": shown as a sentence, without a traceback, exit code 2."""


class UserError(Exception):
    """Bad input from outside: a file, a config value, a URL.

    The message is one sentence that names the file, the field and the remedy.
    """
