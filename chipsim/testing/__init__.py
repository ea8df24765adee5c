"""Shipped tests for your own models: Hypothesis strategies, and one conformance suite per family.

    import pytest
    from chipsim.testing import conformance

    @pytest.mark.parametrize("check", conformance.DEVICE)
    def test_my_device(check):
        check(MyDevice())

`strategies` draws networks, chips, inputs and whatever they are made of; `conformance` holds CIRCUIT, DEVICE, EFFECT,
RULE, METHOD (of hosts) and WRITER: tuples of functions that take an instance and raise AssertionError with a sentence.
"""
