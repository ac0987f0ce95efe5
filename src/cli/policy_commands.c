/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/policy_commands.h"

#include <string.h>

/* What the file's name may need in a shell. */
static skr_status print_quoted(const char *text, struct buf *out)
{
	TRY(buf_append_text(out, "'"));
	for (const char *c = text; *c; c++)
		TRY(*c == '\'' ? buf_append_text(out, "'\\''") : buf_append(out, c, 1));
	return buf_append_text(out, "'");
}

static skr_status print_names(const struct key_config *key, const char *policy_file, struct buf *out)
{
	const char *vault = key ? key->host : "VAULT";

	TRY(buf_append_text(out, "# What is yours: put in what is written in capitals.\n"
	                         "group=GROUP      # resource group of the machine\n"
	                         "machine=MACHINE  # its name\n"
	                         "identity=skr     # an identity that is made below\n"));
	TRY(buf_printf(out, "vault=%.*s\nkey=%s\npolicy=", (int)strcspn(vault, ".:"), vault, key ? key->name : "KEY"));
	TRY(print_quoted(policy_file, out));
	return buf_append_text(out, "\n\n");
}

/* How a machine gets the identity. */
static const char vm_assignment[] =
    "az vm identity assign --resource-group \"$group\" --name \"$machine\" --identities \"$id\"\n";
static const char container_assignment[] =
    "# On Azure Container Instances: in the template that has the container policy, or\n"
    "az container create --resource-group \"$group\" --name \"$machine\" --sku Confidential \\\n"
    "    --cce-policy CCE_POLICY --image IMAGE --acr-identity \"$id\" --assign-identity \"$id\"\n"
    "# On AKS instead, by workload identity:\n"
    "# az identity federated-credential create --resource-group \"$group\" --identity-name \"$identity\" \\\n"
    "#     --name \"$identity\" --subject system:serviceaccount:NAMESPACE:ACCOUNT \\\n"
    "#     --issuer \"$(az aks show --resource-group \"$group\" --name CLUSTER --query oidcIssuerProfile.issuerUrl "
    "--output tsv)\"\n";

static const char vault_commands[] =
    "# The key, exportable by this policy alone, in a vault of the Premium kind. Add decrypt for programs that do.\n"
    "az keyvault key create --vault-name \"$vault\" --name \"$key\" --kty RSA-HSM --size 2048 --ops sign \\\n"
    "    --exportable true --policy \"$policy\"\n\n"
    "# The role, for this key alone. It takes minutes to spread.\n"
    "az role assignment create --role 'Key Vault Crypto Service Release User' \\\n"
    "    --assignee-object-id \"$principal\" --assignee-principal-type ServicePrincipal \\\n"
    "    --scope \"$(az keyvault show --name \"$vault\" --query id --output tsv)/keys/$key\"\n"
    "# The same with --role 'Key Vault Reader' lets a refusal name the claim that is not met.\n";

static const char hsm_commands[] =
    "# The key, exportable by this policy alone. Add decrypt for programs that do.\n"
    "az keyvault key create --hsm-name \"$vault\" --name \"$key\" --kty RSA-HSM --size 2048 --ops sign \\\n"
    "    --exportable true --policy \"$policy\"\n\n"
    "# The role, for this key alone.\n"
    "az keyvault role assignment create --hsm-name \"$vault\" --role 'Managed HSM Crypto Service Release User' \\\n"
    "    --assignee-object-id \"$principal\" --assignee-principal-type ServicePrincipal --scope \"/keys/$key\"\n"
    "# The same with --role 'Managed HSM Crypto Auditor' lets a refusal name the claim that is not met.\n";

skr_status policy_commands_print(enum machine_kind kind, const struct key_config *key, const char *policy_file,
                                 struct buf *out)
{
	TRY(print_names(key, policy_file, out));
	TRY(buf_append_text(
	    out, "# The identity, and the machine's right to it.\n"
	         "az identity create --resource-group \"$group\" --name \"$identity\"\n"
	         "id=$(az identity show --resource-group \"$group\" --name \"$identity\" --query id --output tsv)\n"
	         "principal=$(az identity show --resource-group \"$group\" --name \"$identity\" --query principalId "
	         "--output tsv)\n"));
	TRY(buf_append_text(out, kind == MACHINE_CONTAINER ? container_assignment : vm_assignment));
	TRY(buf_append_text(out, "\n"));
	return buf_append_text(out, key && key->managed_hsm ? hsm_commands : vault_commands);
}
