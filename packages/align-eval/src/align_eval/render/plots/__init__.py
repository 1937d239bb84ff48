"""Plots as marks: pure geometry in points, drawn as SVG or on a page of the PDF."""
