#!/bin/bash
# Microsoft's and GitHub's know the libraries of some releases of Debian and Ubuntu, and end so on any other.
echo "Can't install dotnet core dependencies."
exit 1
