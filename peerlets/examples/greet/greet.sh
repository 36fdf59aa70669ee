#!/bin/sh
read -r name
echo "Hello $name, says $SHOAL_FROM_USER"
