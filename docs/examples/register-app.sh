#!/bin/sh
# Registers the partner's multi-tenant application with the least permission that reads alerts:
# the application role Alert.Read.All of WindowsDefenderATP, and nothing else.
#
#     az login --tenant YOUR_DIRECTORY
#     sh register-app.sh https://YOUR_CONSENT_PAGE [NAME] [SECRET_FILE]
#
# Run again, it finds the application by its name and brings it back to just this; it makes a secret
# only where the file is not there.
set -eu

page=${1:?"usage: register-app.sh https://YOUR_CONSENT_PAGE [NAME] [SECRET_FILE]"}
name=${2:-"Defender alerts"}
file=${3:-client-secret}

resource=fc780465-2017-40d4-a0c5-307022471b92   # WindowsDefenderATP, the same in every directory
role_name=Alert.Read.All

# The role's id is Microsoft's: it is asked for, and not written down here.
role=$(az ad sp show --id "$resource" \
    --query "appRoles[?value=='$role_name'].id | [0]" --output tsv)
if [ -z "$role" ]; then
    echo "WindowsDefenderATP has no role $role_name in this directory: use one with Defender for Endpoint" >&2
    exit 1
fi

app=$(az ad app list --filter "displayName eq '$name'" --query "[0].appId" --output tsv)
if [ -z "$app" ]; then
    app=$(az ad app create --display-name "$name" --sign-in-audience AzureADMultipleOrgs \
        --query appId --output tsv)
fi
az ad app update --id "$app" \
    --web-redirect-uris "$page/consent" \
    --required-resource-accesses \
    "[{\"resourceAppId\":\"$resource\",\"resourceAccess\":[{\"id\":\"$role\",\"type\":\"Role\"}]}]"

# The application's own service principal, in this directory.
az ad sp show --id "$app" --output none 2>/dev/null || az ad sp create --id "$app" --output none

if [ ! -e "$file" ]; then
    umask 077
    az ad app credential reset --id "$app" --append --display-name defender-ingest --years 1 \
        --query password --output tsv >"$file.new"
    mv "$file.new" "$file"
    echo "a secret for one year: $file"
fi
echo "entra.client_id: $app"
echo "redirect URI:    $page/consent"
