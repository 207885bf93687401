"""All that knows Jupyter, and the only place that may import IPython, ipywidgets or matplotlib."""
