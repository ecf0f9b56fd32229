"""`%%sql` and `%slaf` in IPython: magics, completion, and the variables of all languages."""
