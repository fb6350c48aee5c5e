"""Making arms agree with the model and with each other: the hand sweep and its checks.

Library code here never prompts and never prints: steps are generators of readings, which a terminal
drives now and a web page can drive later. Knows the bus and the joints; knows nothing of people,
episodes or policies.
"""
